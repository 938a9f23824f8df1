"""A local page to try a trained cascade in a browser, and an API for `gradio_client`.

`python -m lightning_n2m.playground`, or `make play`. It needs the extra `ui`.
"""
