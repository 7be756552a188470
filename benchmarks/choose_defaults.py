"""How the command line's defaults were chosen: validation loss on 10 000 rows held out of MNIST's training set.

Run: python benchmarks/choose_defaults.py      (two minutes; the test set is never looked at)
"""

import itertools

import numpy as np

import fastsoftmax as fs

SETTINGS = [
    *itertools.product(["sgd"], ["constant", "cosine", "one_cycle"], [0.1, 0.3, 0.5], [64, 128], [5, 10]),
    *itertools.product(["adam"], ["constant", "cosine", "one_cycle"], [0.001, 0.002, 0.003, 0.005], [64, 128], [5, 10]),
]


def main() -> None:
    X, y, _, _ = fs.datasets.load_mnist()
    order = np.argsort(np.random.PCG64(7).random_raw(len(X)), kind="stable")
    train, held = np.sort(order[:-10000]), np.sort(order[-10000:])
    rows = []
    for optimizer, schedule, rate, batch, epochs in SETTINGS:
        trainer = fs.Trainer(epochs, batch, optimizer, rate, schedule, scale=1 / 255, progress=False)
        trainer.fit(X[train], y[train], validation=(X[held], y[held]))
        last, seconds = trainer.history[-1], sum(record["seconds"] for record in trainer.history)
        rows.append(
            (last["validation_loss"], last["validation_accuracy"], optimizer, schedule, rate, batch, epochs, seconds)
        )
    print(
        "| validation loss | accuracy | optimizer | schedule | rate | batch | epochs | seconds |\n" + "|---" * 8 + "|"
    )
    for row in sorted(rows)[:12]:
        print("| {:.4f} | {:.4f} | {} | {} | {} | {} | {} | {:.2f} |".format(*row))


if __name__ == "__main__":
    main()
