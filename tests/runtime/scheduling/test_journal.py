"""Counts that balance."""

from saccade.runtime.scheduling.journal import ENDS, RECENT, Journal


def test_what_was_sent_is_open_or_has_ended():
    journal = Journal()
    journal.sent = 2000
    for number in range(1900):
        journal.end(number, ENDS[number % 5], "", 1.0)
    assert journal.open == 100
    counts = journal.counts()
    assert counts["sent"] == counts["open"] + sum(counts[how] for how in ENDS)
    assert len(journal.recent) == RECENT
    assert journal.recent[-1] == (1899, "expired", "", 1.0)


def test_seconds_for_each_result():
    journal = Journal()
    assert journal.seconds_each() == 0
    journal.busy_s = 3.0
    for number in range(6):
        journal.end(number, "result", "", 1.0)
    assert journal.seconds_each() == 0.5
