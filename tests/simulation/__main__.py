"""Replay one seed, or look for seeds that break a promise: `python -m tests.simulation SEED [--faults 0,2]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from server.config import read_settings
from server.load.files import load_file
from server.stores.database import Database
from server.stores.runs.pruning import RunRetention
from tests.conftest import LOAD_TIME, key_places
from tests.simulation.plan import draw_plan
from tests.simulation.simulation import PromiseBroken, shrink, simulate
from tests.simulation.template import full_log_disk, write_template
from tests.small import write_small_family


def main() -> int:
    """Run the simulation of the command line; return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--faults", help="positions of the faults to keep, such as 0,2; all faults by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, full_log_disk():
        folder = Path(name)
        small = write_small_family(folder)
        database = Database(f"sqlite:///{folder / 'small.db'}")
        database.migrate()
        keep = RunRetention.from_settings(read_settings())
        load_file(database, small.features, LOAD_TIME, key_places(folder), keep)
        database.close()
        (folder / "template").mkdir()
        template = write_template(small, folder / "small.db", folder / "template")
        faults = draw_plan(arguments.seed)
        if arguments.faults:
            faults = tuple(faults[int(position)] for position in arguments.faults.split(","))
        sys.stdout.writelines(f"{fault}\n" for fault in faults)
        try:
            trace = simulate(template, arguments.seed, faults)
        except PromiseBroken as error:
            sys.stdout.write(f"{error}\nneeded: {shrink(template, arguments.seed, faults)}\n")
            return 1
        sys.stdout.write("\n".join(trace) + "\nevery promise holds\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
