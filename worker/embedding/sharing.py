"""Equal texts of one owner that are under way together: one is asked for, all get its vector.

Two copies of a file that are uploaded together would be paid for twice otherwise: neither finds
the other published. The first of the texts leads, the others follow. If nothing comes of its
submission, the next one leads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from docmill.worker.embedding.submission import Item, Submission
from docmill.worker.ports import Vector

_Key = tuple[str, str]  #: owner, text


@dataclass
class _Lead:
    item: Item
    followers: list[Item] = field(default_factory=list)


class Sharing:
    """Who leads, and who follows. Not thread-safe: the batcher holds its lock."""

    def __init__(self, put_back: Callable[[Sequence[Item]], None]) -> None:
        """`put_back`: these texts wait for a request, as nobody leads them any more."""
        self._put_back = put_back
        self._leads: dict[_Key, _Lead] = {}
        self._led_by: dict[Submission, list[_Key]] = {}
        self._looks: set[object] = set()
        #: Submissions to release, each with the looks that had begun by then.
        self._leaving: list[tuple[set[object], Submission]] = []

    def begin_look(self, look: object) -> None:
        """Somebody looks in the database for what is staged, and then brings the other texts."""
        self._looks.add(look)

    def end_look(self, look: object) -> None:
        """The texts are brought."""
        self._looks.discard(look)
        for looks, _ in self._leaving:
            looks.discard(look)
        over = [submission for looks, submission in self._leaving if not looks]
        self._leaving = [waiting for waiting in self._leaving if waiting[0]]
        for submission in over:
            self._release(submission)

    def joins(self, item: Item) -> bool:
        """Whether this text gets the vector of another one. False: it leads, and is asked for."""
        key = _key(item)
        lead = self._leads.get(key)
        if lead is None:
            self._lead(key, item, [])
            return False
        item.submission.ask()
        vector = lead.item.submission.vector(lead.item.position)
        if vector is None:
            lead.followers.append(item)
        else:
            item.submission.share(item.position, vector)
        return True

    def delivered(self, item: Item, vector: Vector) -> None:
        """The vector of a text has arrived."""
        for follower in self._followers(item):
            follower.submission.share(follower.position, vector)

    def refused(self, item: Item) -> None:
        """The provider takes this text from nobody."""
        followers = self._followers(item)
        if self._is_lead(item):
            # Whoever comes later tries it anew.
            del self._leads[_key(item)]
            self._led_by[item.submission].remove(_key(item))
        for follower in followers:
            follower.submission.refuse(follower.position)

    def left(self, submission: Submission) -> None:
        """Texts of a submission that have not arrived are not waited for."""
        led = self._led_by.pop(submission, [])
        arrived = [key for key in led if self._has_arrived(key)]
        for key in led:
            if not self._has_arrived(key):
                self._pass_on(key)
        if arrived:
            self._led_by[submission] = arrived

    def release(self, submission: Submission) -> None:
        """Its texts are staged, and found there, or nobody wants them.

        Whoever has begun to look before may not have found them, and joins them yet.
        """
        if self._looks:
            self._leaving.append((set(self._looks), submission))
        else:
            self._release(submission)

    def _release(self, submission: Submission) -> None:
        for key in self._led_by.pop(submission, []):
            self._pass_on(key)

    def _lead(self, key: _Key, item: Item, followers: list[Item]) -> None:
        self._leads[key] = _Lead(item, followers)
        self._led_by.setdefault(item.submission, []).append(key)

    def _followers(self, item: Item) -> list[Item]:
        if not self._is_lead(item):
            return []
        lead = self._leads[_key(item)]
        followers, lead.followers = lead.followers, []
        return followers

    def _is_lead(self, item: Item) -> bool:
        lead = self._leads.get(_key(item))
        return lead is not None and lead.item is item

    def _has_arrived(self, key: _Key) -> bool:
        item = self._leads[key].item
        return item.submission.vector(item.position) is not None

    def _pass_on(self, key: _Key) -> None:
        followers = self._leads.pop(key).followers
        while followers:
            item = followers.pop(0)
            # Of those that nobody wants any more the next one leads.
            if item.submission.put_back():
                self._lead(key, item, followers)
                self._put_back([item])
                return


def _key(item: Item) -> _Key:
    return item.owner, item.text
