"""One stage as several processes: start them with torchrun, join them, report which one failed and why."""

import atexit
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Annotated, Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from src.ground.errors import KILLED_BY, UserError, fail, hand_to_parent, shorten
from src.ground.kinds import Rule, within
from src.ground.params import PARAMS, Settings, read
from src.machine.collectives import is_main
from src.machine.cores import count_cores

LOOPBACK = "127.0.0.1"
NODE_RANK = "NODE_RANK"  # environment variable: 0 on the first machine, which writes files, 1 on the next
WAITED, LOST = "no response from another process within distributed.timeout", "lost another process"
CULPRIT_FIRST = 1.0  # seconds that a process waits after losing another, so that the lost one is reported
HOST_AND_PORT = Rule(pattern=r"^[^\s:/]+:[0-9]{1,5}$", rule="must be host:port of the first machine")


@dataclass(frozen=True)
class DistributedSettings(Settings):
    """How processes find each other; has no effect on results, so no stage lists it in its params."""

    nodes: Annotated[int, within("[1, 4096]")]  # machines that the processes are spread over
    rendezvous: Annotated[str, HOST_AND_PORT]  # host:port of the first machine; used if nodes > 1
    timeout: Annotated[float, within("(0, 86400]")]  # seconds that a process waits for another one


def is_launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def join(processes: int, device: torch.device) -> torch.device:
    """Join the process group: NCCL for GPUs, gloo for CPUs. Returns the device of this process."""
    settings = read(DistributedSettings, "distributed")
    if int(os.environ["WORLD_SIZE"]) != processes:
        raise UserError(
            f"{PARAMS}: processes: {processes}, but torchrun started {os.environ['WORLD_SIZE']} (make them "
            "equal, or let the stage start torchrun)"
        )
    sys.excepthook = report
    check_gpus(int(os.environ["LOCAL_WORLD_SIZE"]), device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=settings.timeout))
    atexit.register(dist.destroy_process_group)
    if not is_main():
        sys.stdout = open(os.devnull, "w")
    return device


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell torchrun what ended this process; if it only lost another one, let that one report first."""
    text = shorten(error)
    if isinstance(error, dist.DistError) or "gloo" in text:
        time.sleep(CULPRIT_FIRST)
        hand_to_parent(f"{WAITED}: {text[:150]}" if "imed out" in text else f"{LOST}: {text[:150]}")
    else:
        sys.__excepthook__(kind, error, trace)
        hand_to_parent(f"{kind.__name__}: {text}")


def check_gpus(here: int, device: torch.device) -> None:
    """Refuse more processes on this machine than it has GPUs, if they run on GPUs."""
    if device.type == "cuda" and here > torch.cuda.device_count():
        raise UserError(
            f"{PARAMS}: processes: {here} on this machine, but it has {torch.cuda.device_count()} GPUs (use "
            "at most one process per GPU, or device: cpu)"
        )


def launch(processes: int, threads: int, device: torch.device) -> NoReturn:
    """Run this same command under torchrun in every process of this machine; exit as they do."""
    settings = read(DistributedSettings, "distributed")
    here = processes // settings.nodes
    check_gpus(here, device)
    if here * threads > count_cores():
        print(f"warning: {here} processes x {threads} threads on {count_cores()} cores (fewer are faster)")
    print(f"{processes} processes" + (f" on {settings.nodes} machines" if settings.nodes > 1 else ""))
    sys.stdout.flush()
    logging.disable(logging.CRITICAL)  # hide torchrun's long report; the cause is printed below
    try:
        with TemporaryDirectory() as folder:
            elastic_launch(launch_config(settings, here, folder), sys.executable)(*sys.orig_argv[1:])
    except ChildFailedError as error:
        number, text = find_culprit(error.failures)
        fail(f"process {number}: {text}", code=1)
    except SignalException as error:
        fail(
            f"stopped by {error.sigval.name} (run the same command to continue)",
            code=KILLED_BY + error.sigval,
        )
    except (dist.DistError, RuntimeError, OSError) as error:
        text = shorten(error, 200)
        in_use = "EADDRINUSE" in text or "already in use" in text
        raise UserError(
            f"{PARAMS}: distributed.rendezvous: {settings.rendezvous}: "
            + ("the port is already in use (choose another)" if in_use else f"cannot connect: {text}")
        ) from None
    sys.exit(0)


def launch_config(settings: DistributedSettings, here: int, folder: str) -> LaunchConfig:
    """torchrun's settings: `here` processes on this machine, which write why they ended to `folder`."""
    if settings.nodes == 1:
        meeting: dict[str, Any] = {
            "rdzv_backend": "c10d",
            "rdzv_endpoint": f"{LOOPBACK}:0",
            "local_addr": LOOPBACK,
        }
        options: dict[str, Any] = {}
    else:
        meeting = {"rdzv_backend": "static", "rdzv_endpoint": settings.rendezvous}
        options = {"rank": int(os.environ.get(NODE_RANK, 0))}
    return LaunchConfig(
        min_nodes=settings.nodes,
        max_nodes=settings.nodes,
        nproc_per_node=here,
        run_id="dojo",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(folder),
        rdzv_configs={"timeout": int(settings.timeout), **options},
        shutdown_timeout=int(settings.timeout),  # seconds after SIGTERM in which the state must be saved
        **meeting,
    )


def find_culprit(failures: dict[int, ProcessFailure]) -> tuple[int, str]:
    """The index of the process that failed first, and the cause, in one line.

    torchrun ends the others with SIGTERM, and with SIGKILL any that does not respond.
    """
    causes = {number: describe_end(failure) for number, failure in failures.items()}

    def order(number: int) -> tuple[bool, bool, bool, int]:
        signum, text = -failures[number].exitcode, causes[number]
        return not text.startswith(WAITED), signum == signal.SIGTERM, text.startswith(LOST), number

    number = min(failures, key=order)
    return number, causes[number]


def describe_end(failure: ProcessFailure) -> str:
    """What ended a process: its own message, a signal, or an exit code."""
    if "timestamp" in failure.error_file_data:
        return failure.message
    if failure.exitcode < 0:
        return (
            f"killed by {failure.signal_name()} (run the same command to continue from the last saved state)"
        )
    return f"exit code {failure.exitcode}"
