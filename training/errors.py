"""The errors of training. Each message says what is wrong, what was expected, and what to do next."""


class TrainingError(Exception):
    """An error that the user can fix; the command line shows it without a traceback."""


class SpecInvalid(TrainingError):
    """The spec file, or an option of the command line, is invalid."""


class DataInvalid(TrainingError):
    """The table or the transaction log is invalid."""


class ModelRejected(TrainingError):
    """The model cannot be exported exactly, or failed a check before its release."""
