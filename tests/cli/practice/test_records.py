from cli.practice.records import MAX_RECORDED_BYTES, MAX_RECORDS, Ending, Journal, Record


def test_only_the_latest_requests_are_kept() -> None:
    journal = Journal()
    for number in range(MAX_RECORDS + 1):
        journal.began(Record(1, "GET", f"/{number}", []))
    assert len(journal.records) == MAX_RECORDS
    assert journal.records[0].target == "/1"


def test_large_bodies_push_out_the_oldest() -> None:
    journal = Journal()
    body = bytes(MAX_RECORDED_BYTES // 2)
    for number in range(4):
        record = Record(1, "POST", f"/{number}", [])
        journal.began(record)
        journal.body_ended(record, body)
    assert [record.target for record in journal.records] == ["/2", "/3"]


def test_the_first_ending_counts() -> None:
    journal, record = Journal(), Record(1, "GET", "/", [])
    journal.ended(record, Ending.COMPLETE)
    journal.ended(record, Ending.CLIENT_LEFT)
    assert record.ending is Ending.COMPLETE


def test_headers_are_found_in_any_case() -> None:
    record = Record(1, "GET", "/", [(b"X-A", b"1"), (b"x-a", b"2"), (b"b", b"3")])
    assert record.header("x-A") == ["1", "2"]
