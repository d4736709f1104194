"""Live game scores without end, a JSON document a line.

python examples/games.py --rate 200 | streamfold send examples/arcade.toml scores -
"""

import argparse
import json
import time
from itertools import islice

from pipeline.edges.demo.games import Games


def main() -> None:
    parser = argparse.ArgumentParser(description="Print game scores as JSON lines.")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same games")
    parser.add_argument("--rate", type=float, default=100, help="scores a second; 0: as fast as they can be printed")
    parser.add_argument("--events", type=int, help="end after so many")
    args = parser.parse_args()
    began = time.monotonic()
    for number, score in enumerate(islice(Games(args.seed).events(), args.events)):
        if args.rate:
            time.sleep(max(0.0, began + number / args.rate - time.monotonic()))
        print(json.dumps({**score, "ts": round(time.time(), 3)}), flush=bool(args.rate))


if __name__ == "__main__":
    main()
