"""The one error that is the user's to mend."""

from __future__ import annotations


class InputError(Exception):
    """Wrong input: the message is one sentence that names the file or key and the remedy.

    Command lines print the message alone on standard error and exit with code 2. It is no
    ``ValueError``: those jsonargparse takes for a type that does not fit, and rewords.
    """
