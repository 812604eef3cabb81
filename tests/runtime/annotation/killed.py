"""A process that annotates in children and kills them: python killed.py FOLDER OUT PROMPTS MODE SEED.

MODE slow: no children; takes a minute for a picture, for whoever wants to kill it

MODE operations: a fresh child dies just before its n-th file operation, for every n until one lives
MODE moments: 20 children die at seeded times, each going on where the one before was; a finished run begins anew
Prints the kills, and leaves a finished run in OUT.n for each run that was begun.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from saccade.runtime import files
from saccade.runtime.annotation import annotate
from tests.runtime.annotation import fake

OPERATIONS = ("fsync", "fchmod", "replace", "fdopen")
FORMATS = ("coco", "sa1b")
KILLS = 20


def run(folder: str, out: str, prompts: str, seconds: float = 0.0, *, sheet: bool = True) -> None:
    """Both turns of a semi-automatic run, as a person's script would do them."""
    given = {"stage": "semi-automatic", "formats": FORMATS, "ask_grid": 4, "sheet": sheet}
    annotate(fake.Model(seconds=seconds), folder, out, **given)
    annotate(fake.Model(seconds=seconds), folder, out, prompts=prompts, **given)


def child(work: Callable[[], None]) -> int:
    """Fork, work, leave: the child's id."""
    made = os.fork()
    if not made:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return made


def ended(process: int) -> bool:
    """Whether the child came to its end; False if it was killed. A failure of its own ends everything."""
    _, status = os.waitpid(process, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit(1)
    return os.WIFEXITED(status)


def dies_at(number: int) -> None:
    """Have this process killed before its file operation of that number."""
    left = [number]

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **more: object) -> object:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*given, **more)

        return call

    for name in OPERATIONS:
        setattr(files.os, name, watched(getattr(files.os, name)))


def operations(folder: str, out: str, prompts: str) -> int:
    run(folder, f"{out}.first", prompts, sheet=False)  # imports what the children then have
    number = 0
    while True:
        here = f"{out}.{number}"

        def work(number: int = number, here: str = here) -> None:
            dies_at(number)
            run(folder, here, prompts, sheet=False)

        lived = ended(child(work))
        if lived:
            return number
        run(folder, here, prompts, sheet=False)
        number += 1


def moments(folder: str, out: str, prompts: str, seed: int) -> int:
    rng, begun, kills = random.Random(seed), 0, 0
    start = time.monotonic()
    run(folder, f"{out}.{begun}", prompts, 0.004)
    whole = time.monotonic() - start
    while kills < KILLS:
        begun += 1
        while kills < KILLS:
            process = child(lambda here=f"{out}.{begun}": run(folder, here, prompts, 0.004))
            time.sleep(rng.uniform(0, 0.4) * whole)
            os.kill(process, signal.SIGKILL)
            if ended(process):
                break
            kills += 1
        run(folder, f"{out}.{begun}", prompts)
    return kills


if __name__ == "__main__":
    files.os.fsync = lambda fd: None  # a kill, unlike a power cut, does not take what the system was given
    folder, out, prompts, mode, seed = sys.argv[1:]
    if mode == "slow":
        run(folder, out, prompts, 60)
    else:
        print(operations(folder, out, prompts) if mode == "operations" else moments(folder, out, prompts, int(seed)))
