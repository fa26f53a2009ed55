"""The bot under load: commands of many users, on the stand-in for Discord, with workers whose jobs wait.

    ./distillery python benchmarks/bot.py [--users 200] [--per-minute 1000] [--minutes 10] [--workers 4]

The bot is a process of its own on a PostgreSQL of its own; discord.py is unmodified. Prints one line of JSON: how fast
commands were acknowledged and their cards shown, how many results were lost or shown twice, and the bot's memory by the minute.
benchmarks/results/bot.md has what came out.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support")]

import psutil  # noqa: E402
from bot_bench import BotProcess  # noqa: E402
from bot_scene import png  # noqa: E402
from cluster_database import new_cluster  # noqa: E402
from cluster_workers import WorkerProcess  # noqa: E402
from discord_stand_in import DiscordStandIn  # noqa: E402
from postgres import Postgres  # noqa: E402


def percentiles(values: list[float]) -> dict[str, float]:
    """Return median, 95th and 99th percentile and the largest."""
    found = sorted(values)
    at = {name: found[min(len(found) - 1, int(share * len(found)))] for name, share in _SHARES.items()} if found else {}
    return {name: round(value, 3) for name, value in at.items()}


_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def load(users: int, per_minute: float, minutes: float, number: int, milliseconds: int = 100) -> dict[str, Any]:
    """Run the load; jobs wait for so many milliseconds."""
    rng = random.Random(1)
    server = Postgres("fsync = on")
    with tempfile.TemporaryDirectory() as folder, DiscordStandIn() as discord_:
        cluster = new_cluster(server, Path(folder))
        guilds = [discord_.guild(f"guild {n}") for n in range(10)]
        channels = [discord_.channel(guild, f"channel {n}") for guild in guilds for n in range(4)]
        people = [discord_.user(f"user{n}") for n in range(users)]
        for user in people:
            for guild in guilds:
                discord_.join(user, guild)
        workers = [WorkerProcess(cluster.url, cluster.store.url, 2, "--by-image") for _ in range(number)]
        bot = BotProcess(discord_, cluster, tiers={"member": {"queued": 1000, "running": 100}}, guild_queued=100_000)
        process = psutil.Process(bot.process.pid)
        pictures = [png(milliseconds, shade=n) for n in range(50)]
        calls, memory, started = [], [], time.monotonic()
        total = round(per_minute * minutes)
        for n in range(total):
            due = started + n * 60 / per_minute
            if (pause := due - time.monotonic()) > 0:
                time.sleep(pause)
            user, channel = rng.choice(people), rng.choice(channels)
            image = discord_.upload(user, channel, rng.choice(pictures), f"{n}.png")
            calls.append(discord_.slash(user, channel, "upscale", {"image": image}))
            if len(memory) < (time.monotonic() - started) // 60:
                memory.append(round(process.memory_info().rss / 2**20, 1))
        took = time.monotonic() - started
        end = time.monotonic() + 300
        open_ = "SELECT count(*) FROM distillery_bot_requests WHERE state IN ('received', 'waiting')"
        while time.monotonic() < end and cluster.database.value(open_):
            time.sleep(1)
        memory.append(round(process.memory_info().rss / 2**20, 1))
        drained = time.monotonic() - started - took
        states = {
            r["state"]: r["count"]
            for r in cluster.database.rows("SELECT state, count(*) FROM distillery_bot_requests GROUP BY state")
        }
        finished = [c for c in calls if c.message is not None and "Delete" in discord_.buttons(c.message)]
        messages = sum(len(discord_.messages(channel)) for channel in channels)
        bot.end()
        for worker in workers:
            worker.kill()
        cluster.database.close()
        server.remove()
        return {
            "what": "load", "users": users, "commands": total, "per_minute": round(total / took * 60), "minutes": round(took / 60, 1),
            "acknowledged": percentiles([c.latency for c in calls if c.latency is not None]),
            "unanswered": sum(c.latency is None for c in calls), "states": states, "results": len(finished),
            "lost": total - len(finished), "doubled": messages - len(finished), "drained_in": round(drained, 1),
            "memory_mib": memory, "invalid": discord_.invalid,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--per-minute", type=float, default=1000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=4, help="of two slots each")
    options = parser.parse_args()
    print(json.dumps(load(options.users, options.per_minute, options.minutes, options.workers)), flush=True)


if __name__ == "__main__":
    main()
