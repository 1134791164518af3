"""How far a run is: a bar on a terminal, a line a minute elsewhere."""

import logging
import time

log = logging.getLogger("clinnlp")


class Progress:
    """Notes done of `total`, notes per second and time left; `done` were done before."""

    def __init__(self, total: int, done: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=total, initial=done, unit=" notes", desc="labeling", disable=None, smoothing=0.05)
        self.total, self.before = total, done
        self.start = self.said = time.perf_counter()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.bar.close()

    def show(self, done: int) -> None:
        """Tell that so many notes of the run are done."""
        self.bar.update(done - self.bar.n)
        now = time.perf_counter()
        if self.bar.disable and now - self.said > 60:
            self.said = now
            log.info("%d of %d notes, %.1f notes/s", done, self.total, (done - self.before) / (now - self.start))
