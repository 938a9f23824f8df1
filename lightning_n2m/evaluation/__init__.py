"""Floor 2: judges of music that never took part in making it.

The roles of the two taggers are fixed: musicnn trained on MagnaTagATune judges, musicnn trained on the
Million Song Dataset may label training data and is not heard here.
"""
