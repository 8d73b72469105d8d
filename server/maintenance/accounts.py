"""For `python -m server doctor`: is every key that is gone accounted for, and every run the one that was recorded?"""

from server.errors import LogRefused, ServerError, StoreUnavailable
from server.maintenance.erasure import find_erasure_problems
from server.stores.database import Database
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.runs.records import run_problems


def find_key_and_run_problems(database: Database, places: KeyLocations) -> list[str]:
    """Give what is wrong, one fact a line; needs the keys of the log.

    Raises:
        StoreUnavailable: A database does not answer.
    """
    try:
        log = open_log(database, places)
    except LogRefused as error:
        return [str(error)]
    try:
        problems, rows = find_erasure_problems(log)
        return [*problems, *run_problems(log, rows)]
    except StoreUnavailable:
        raise
    except ServerError as error:  # a record that is needed is damaged, which `examine` has told in full
        return [str(error)]
    finally:
        log.close()
