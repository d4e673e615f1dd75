"""Four threads under one GIL: a queue between them, locks, local work."""
import os
import queue
import threading

SIZE = 45_000


def produce(tasks, n):
    for i in range(n):
        tasks.put((i, [i, str(i)]))
    tasks.put(None)


def consume(tasks, results, lock):
    while (task := tasks.get()) is not None:
        i, parts = task
        value = sum(len(str(x)) for x in parts * 4)
        local = {j: (i, j) for j in range(10)}
        with lock:
            results[i % 64] = results.get(i % 64, 0) + value + len(local)


def main(n):
    results, lock, workers = {}, threading.Lock(), []
    for _ in range(2):
        tasks = queue.Queue(maxsize=100)   # bounded: peak memory must not depend on the scheduler
        workers.append(threading.Thread(target=produce, args=(tasks, n)))
        workers.append(threading.Thread(target=consume, args=(tasks, results, lock)))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(results.values()) == 2 * sum(8 * len(str(i)) + 10 for i in range(n))


if __name__ == "__main__":
    main(max(1, int(SIZE * float(os.environ.get("ISAN_BENCH_SCALE", "1")))))
