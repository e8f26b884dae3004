"""Rounds: taking shards."""

from __future__ import annotations

from sourced.errors import Fenced
from sourced.store import Claim
from sourced.testing.conformance.bench import Bench, at, refused, shards_of


class Claims(Bench):
    # -- claim: what there is

    def test_claim_of_nothing_is_empty(self) -> None:
        """E82. Nothing was ever stored; all of it has been dealt with; it is before the group's start."""
        self.register()
        assert self.claim() == Claim(self.group())
        self.put("s", 2)
        self.work_off()
        assert self.claim().leases == ()
        late = self.register("late", "now")
        assert self.claim(group="late") == Claim(late)

    def test_claim_leases_every_shard_with_something_to_do(self) -> None:
        self.register()
        a, b, done = self.apart(3)
        self.put(done, 1)
        self.work_off()
        self.put(a, 1)
        self.put(b, 1)
        claim = self.claim()
        assert claim.group == self.group()
        assert shards_of(claim) == {self.shard(a), self.shard(b)}
        assert all((each.checkpoint, each.high, each.careful) == (0, 0, 0) for each in claim.leases)

    def test_claim_finds_the_one_message_among_many_that_are_not_wanted(self) -> None:
        """E106. Wanted or not shows when the shards are looked through, and that is the same round."""
        self.register()
        for number in range(250):
            self.put(f"unwanted-{number}", 1, type="unwanted")
        (wanted,) = self.put("wanted", 1)
        assert self.work_off() == [wanted]
        assert self.claim().leases == ()

    def test_claim_takes_no_more_shards_than_messages_may_be_handled(self) -> None:
        self.register()
        for stream in self.apart(3):
            self.put(stream, 1)
        assert len(self.claim("a", limit=2).leases) == 2
        assert len(self.claim("b", limit=2).leases) == 1

    def test_claim_takes_no_more_shards_than_its_share_so_that_others_find_some(self) -> None:
        """E78. Whoever is furthest behind goes first, all the same."""
        self.register()
        streams = self.apart(5)
        for stream in streams:
            self.put(stream, 1)
        claims = [self.do(self.store.claim("g", owner, now=at(0), until=at(30), limit=100, most=2)) for owner in "abcd"]
        assert [len(claim.leases) for claim in claims] == [2, 2, 1, 0]

    def test_renew_prolongs_a_lease_that_was_not_lost(self) -> None:
        """J172. A round that takes its time keeps what it has; one that was taken over gets nothing back."""
        self.register()
        self.put("s", 1)
        claim = self.claim("slow", now=0)
        self.do(self.store.renew(claim, at(60)))
        assert self.claim("other", now=59).leases == ()
        taken = self.claim("other", now=60)
        assert shards_of(taken) == {self.shard("s")}
        self.do(self.store.renew(claim, at(1000)))
        assert shards_of(self.claim("third", now=90)) == {self.shard("s")}
        self.do(self.store.release(self.claim("third", now=90)))
        self.do(self.store.renew(taken, at(1000)))
        assert shards_of(self.claim("fourth", now=91)) == {self.shard("s")}

    def test_claim_gives_every_shard_its_turn_whatever_arrives_meanwhile(self) -> None:
        """One shard at a time, and one stream is written to all the time: nobody starves."""
        self.register()
        streams = self.apart(4)
        for stream in streams:
            self.put(stream, 3)
        seen: set[str] = set()
        for _ in range(8):
            self.put(streams[0], 3)
            claim = self.claim(limit=1)
            pending = self.pending(claim, limit=1)
            self.settle(claim, pending)
            seen |= {r.stream for r in pending.records}
        assert seen == set(streams)

    # -- claim: whose it is

    def test_claim_leaves_out_what_somebody_else_holds(self) -> None:
        """E78."""
        self.register()
        a, b = self.apart(2)
        self.put(a, 2)
        first = self.claim("a")
        self.put(b, 2)
        second = self.claim("b")
        assert (shards_of(first), shards_of(second)) == ({self.shard(a)}, {self.shard(b)})
        assert self.claim("c").leases == ()

    def test_claim_of_one_group_is_in_nobody_elses_way(self) -> None:
        self.register()
        self.register("other")
        self.put("s", 1)
        assert shards_of(self.claim("a")) == shards_of(self.claim("b", group="other"))

    def test_claim_takes_over_what_has_expired_and_not_a_moment_earlier(self) -> None:
        """J173. The owner may never have been heard of."""
        self.register()
        self.put("s", 1)
        (first,) = self.claim("a", now=0).leases
        assert self.claim("b", now=29.999999).leases == ()
        (second,) = self.claim("b", now=30).leases
        assert second.token > first.token
        assert self.claim("c", now=59).leases == ()

    def test_claim_by_the_owner_of_a_lease_renews_it(self) -> None:
        """Its earlier round is void then: there is one round at a time in a shard, of one owner as well."""
        self.register()
        self.put("s", 2)
        first = self.claim("a", now=0)
        second = self.claim("a", now=20)
        assert second.leases[0].token > first.leases[0].token
        assert self.claim("b", now=40).leases == ()
        with refused(Fenced):
            self.settle(first)
        self.settle(second)

    def test_claim_gives_tokens_that_only_grow(self) -> None:
        """However the one before came to its end."""
        self.register()
        tokens: list[int] = []

        def took(claim: Claim) -> Claim:
            tokens.extend(lease.token for lease in claim.leases)
            return claim

        self.put("s", 1)
        self.settle(took(self.claim("a")), release=True)
        self.do(self.store.release(took(self.claim("b"))))
        self.settle(took(self.claim("c")), release=False)
        self.do(self.store.reset("g"))
        took(self.claim("c"))
        took(self.claim("d", now=30))
        took(self.claim("e", now=60))
        assert len(tokens) == 6
        assert tokens == sorted(set(tokens))

    # -- claim: with care

    def test_claim_is_careful_with_a_shard_whose_last_round_was_never_heard_of_again(self) -> None:
        """Expired, or claimed anew by the very owner who lost track of it."""
        self.register()
        a, b = self.apart(2)
        self.put(a, 2)
        self.claim("a", now=0)
        self.put(b, 1)
        leases = {lease.shard: lease for lease in self.claim("b", now=30).leases}
        assert leases[self.shard(a)].careful > 0
        assert leases[self.shard(b)].careful == 0
        assert all(lease.careful > 0 for lease in self.claim("b", now=31).leases)

    def test_claim_is_careful_for_as_many_messages_as_the_lost_round_may_have_been_handling(self) -> None:
        """Any of them may have been the one that killed it."""
        self.register()
        self.put("s", 20)
        lost = self.pending(self.claim("a", now=0, limit=7), limit=7)
        (lease,) = self.claim("b", now=30, limit=3).leases
        assert len(lost.records) == 7
        assert lease.careful >= 7

    def test_claim_is_not_careful_after_a_round_that_was_settled_or_released(self) -> None:
        self.register()
        self.put("s", 2)
        self.settle(self.claim("a"), release=True)
        self.settle(self.claim("a"), release=False)
        self.do(self.store.release(self.claim("a")))
        (lease,) = self.claim("b").leases
        assert lease.careful == 0

    def test_claim_stays_careful_for_as_long_as_it_was_settled_to(self) -> None:
        self.register()
        self.put("s", 3)
        self.settle(self.claim("a"), careful=2)
        for careful in (2, 1, 0):
            claim = self.claim("a")
            assert claim.leases[0].careful == careful
            self.settle(claim, careful=max(0, careful - 1))

    def test_claim_stays_careful_when_a_careful_round_is_released(self) -> None:
        self.register()
        self.put("s", 3)
        self.settle(self.claim("a"), careful=2)
        self.do(self.store.release(self.claim("a")))
        assert self.claim("a").leases[0].careful == 2
