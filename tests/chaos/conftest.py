"""Which faults are tested: one in each chapter, chosen by a printed seed (`make faults`), or all (`make chaos`)."""

import random

import pytest

from tests.chaos.faults import CHAPTERS, FAULTS, Fault


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=None, help="chooses the fault of each chapter; default: random")
    parser.addoption("--all-faults", action="store_true", help="test every fault in every chapter that it applies to")


def pytest_configure(config):
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(10000)


def pytest_report_header(config):
    return f"faults: {'all' if config.option.all_faults else f'--seed {config.option.seed}'}"


def pytest_generate_tests(metafunc):
    if "faults" in metafunc.fixturenames:
        options = metafunc.config.option
        series = all_faults() if options.all_faults else [one_fault_per_chapter(options.seed)]
        metafunc.parametrize("faults", series, ids=["-".join(fault.name for fault in one.values()) for one in series])


def one_fault_per_chapter(seed: int) -> dict[str, Fault]:
    """Chapter → a fault that applies to it, chosen by the seed."""
    choose = random.Random(seed)
    return {
        chapter: choose.choice([fault for fault in FAULTS if chapter in fault.chapters and not fault.slow_in(chapter)])
        for chapter in CHAPTERS
    }


def all_faults() -> list[dict[str, Fault]]:
    """As many series as it takes to test each fault in each chapter that it applies to."""
    applicable = {chapter: [fault for fault in FAULTS if chapter in fault.chapters] for chapter in CHAPTERS}
    return [
        {chapter: faults[number] for chapter, faults in applicable.items() if number < len(faults)}
        for number in range(max(map(len, applicable.values())))
    ]


@pytest.fixture
def seed(request) -> random.Random:
    return random.Random(request.config.option.seed)
