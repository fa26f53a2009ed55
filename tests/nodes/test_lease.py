"""Jobs whose sender is gone."""

from distillery.nodes.lease import Leased, Leases, lease_of, leased_jobs


def test_a_lease_is_bounded_and_anything_else_is_none():
    assert [lease_of({"distillery_lease": s}) for s in (60, 1, 10**9)] == [60, 10, 86_400]
    for other in (
        {},
        None,
        [],
        {"distillery_lease": "60"},
        {"distillery_lease": True},
        {"distillery_lease": float("nan")},
    ):
        assert lease_of(other) is None
    items = [(0, "a", {}, {"distillery_lease": 60, "client_id": "c"}, [], {}), (1, "b", {}, {"client_id": "d"}, [], {})]
    assert leased_jobs(items) == [Leased("a", "c", 60)]


def test_a_job_ends_when_nothing_was_heard_for_that_long():
    leases, jobs = Leases(), [Leased("a", "alive", 60), Leased("b", "gone", 60)]
    assert leases.expired(jobs, {"alive", "gone"}, 0) == []
    assert leases.expired(jobs, {"alive"}, 59) == []
    assert leases.expired(jobs, {"alive"}, 61) == ["b"]
    assert leases.expired([Leased("late", "nobody", 60)], set(), 100) == []  # its socket may still be on its way


def test_a_renewal_stands_for_a_socket():
    leases, jobs = Leases(), [Leased("a", "nobody", 60)]
    for now in range(0, 600, 10):
        leases.renew("a", now)
        assert leases.expired(jobs, set(), now + 5) == []
    assert leases.expired(jobs, set(), 700) == ["a"]


def test_what_is_remembered_is_bounded():
    leases = Leases()
    for number in range(3000):
        leases.renew(str(number), number)
    assert len(leases.heard) == 1000 and "2999" in leases.heard
