"""What training refuses, each with a message that says what to do instead."""


class TrainingError(Exception):
    """Something that the person at the keyboard can mend; shown without a traceback."""


class SpecInvalid(TrainingError):
    """The spec file says something that cannot be right."""


class DataInvalid(TrainingError):
    """The table or the log holds something that cannot be right."""


class ModelRejected(TrainingError):
    """The fitted model cannot be exported exactly, or failed a check on the way."""
