"""`adopt-fork`: accept a database that has lost records. The command changes data only with --apply."""

from server.commands.options import Apply, Config, Reason, open_record_log
from server.commands.output import print_line
from server.config import read_settings


def adopt_fork(reason: Reason, apply: Apply = False, config: Config = None) -> None:
    """Accept a database that lacks records which the high-water mark or an anchor proves, and record the loss.

    Before that, stop every server of the database, and try to restore the newest backup.
    """
    from server.maintenance.erasure import apply_listed_erasures, check_reason
    from server.maintenance.forks import adopt_fork as adopt
    from server.maintenance.forks import find_lost_range
    from server.stores.clock import utc_now

    check_reason(reason, None)
    with open_record_log(read_settings(config), with_all_anchors=True) as log:
        # Read the list first, because the erasures that the log still has are added to it below.
        listed, list_path = log.key_store.erasure_list.read(), log.key_store.erasure_list.path
        # The clock is not compared with the newest record, because a database that was restored may be old.
        lost = adopt(log, reason, utc_now()) if apply else find_lost_range(log)
        again = apply_listed_erasures(log, utc_now) if apply else 0
    first, last = lost.start - 1, lost.stop - 2
    print_line(
        f"records {first:,} to {last:,} {'are given up' if apply else 'would be given up'}: they are missing, or were replaced"
    )
    if listed:
        newest = max(each.time for each in listed)
        applied = (
            f"; {again:,} were applied again" if apply else "; those that the database lacks would be applied again"
        )
        print_line(
            f"erasure list {list_path}: {len(listed):,} erasures, the newest of {newest:%Y-%m-%d %H:%M} UTC{applied}"
        )
    else:
        print_line(
            f"erasure list {list_path}: lists no erasure. If customers were erased, the file is lost, and they are back in the restored "
            "databases: restore the file before you use --apply, or erase them again"
        )
    if not apply:
        print_line("nothing was changed; to accept the present database, add --apply")
