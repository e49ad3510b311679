"""Run something as on an older system: some of the kernel's means are refused to one thread and what it starts."""

import errno
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from neuralrank.engines import _libc, _seccomp
from neuralrank.engines._seccomp import Argument, Rule

Result = TypeVar("Result")
LACKS = {
    "seccomp": (Rule(call="seccomp", error=errno.ENOSYS),),
    "landlock": (Rule(call="landlock_create_ruleset", error=errno.ENOSYS),),
    "namespaces": (Rule(call="unshare"),),
    "broken landlock": (Rule(call="landlock_create_ruleset", error=errno.ENOMEM, unless=(Argument(2, (1,)),)),),
}


def without(*lacking: str, call: Callable[[], Result]) -> Result:
    """Call something in a thread whose kernel seems to lack what is named; what it starts lacks it too."""
    results: list[Any] = []

    def work() -> None:
        _libc.prctl(38, 1)  # PR_SET_NO_NEW_PRIVS, for this thread alone
        rules = [rule for name in lacking for rule in LACKS[name]]
        _seccomp.install(_seccomp.program(rules, os.uname().machine))
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(results[0], BaseException):
        raise results[0]
    result: Result = results[0]
    return result
