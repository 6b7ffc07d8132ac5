"""Which faults: one a chapter, chosen by a printed seed (as CI does), or all of them (`make chaos`)."""

import random

import pytest

from tests.chaos.faults import CHAPTERS, FAULTS


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=None, help="which fault each chapter gets; default: a new one each time")
    parser.addoption("--all-faults", action="store_true", help="every fault in every chapter that it fits")


def pytest_configure(config):
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(10000)


def pytest_report_header(config):
    return f"faults: {'all' if config.option.all_faults else f'--seed {config.option.seed}'}"


def pytest_generate_tests(metafunc):
    if "faults" in metafunc.fixturenames:
        options = metafunc.config.option
        series = every() if options.all_faults else [drawn(options.seed)]
        metafunc.parametrize("faults", series, ids=["-".join(fault.name for fault in one.values()) for one in series])


def drawn(seed: int) -> dict:
    """Chapter → one fault that fits it."""
    choose = random.Random(seed)
    return {
        chapter: choose.choice([fault for fault in FAULTS if chapter in fault.chapters and not fault.slow_in(chapter)])
        for chapter in CHAPTERS
    }


def every() -> list[dict]:
    """As many series as it takes for each chapter to meet each fault that fits it."""
    fitting = {chapter: [fault for fault in FAULTS if chapter in fault.chapters] for chapter in CHAPTERS}
    return [
        {chapter: faults[number] for chapter, faults in fitting.items() if number < len(faults)}
        for number in range(max(map(len, fitting.values())))
    ]


@pytest.fixture
def seed(request) -> random.Random:
    return random.Random(request.config.option.seed)
