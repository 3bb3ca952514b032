"""Writes the ticks that `make bench` counts: the same bytes each time.

usage: ticks.py TICKS FILE

500 tickers over 390 one-minute windows from 2024-01-02T14:30:00Z, 149 bytes a tick, in the order of their event
times, which all differ. Which ticker comes next, and its prices, come from a linear congruential generator (Knuth's
MMIX constants).
"""

import sys

TICKERS = 500
MINUTES = 390
BEGIN = 14 * 3600 + 30 * 60  # seconds of the day


def lines(ticks: int):
    """The ticks, one a line."""
    state = 20240102
    for number in range(ticks):
        state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        ticker = (state >> 33) % TICKERS
        cents = 10_000 + (state >> 45) % 10_000
        micros = number * MINUTES * 60 * 1_000_000 // ticks
        seconds, fraction = divmod(micros, 1_000_000)
        seconds += BEGIN
        hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
        yield (
            f'{{"ticker":"T{ticker:03}","date":"2024-01-02","timestamp":"2024-01-02T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z",'
            f'"open":{cents / 100:.2f},"high":{(cents + 7) / 100:.2f},"low":{(cents - 9) / 100:.2f},"close":{(cents + 3) / 100:.2f},'
            f'"volume":{100 + (state >> 50) % 900}}}\n'
        )


def main() -> None:
    ticks, path = int(sys.argv[1]), sys.argv[2]
    with open(path, "w", encoding="ascii", buffering=1 << 20) as file:
        file.writelines(lines(ticks))


if __name__ == "__main__":
    main()
