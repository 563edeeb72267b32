"""Train a small CNN on MNIST with an explicit loop: forward, loss, backward, step.

python -m fastconv.examples.train_mnist [FOLDER_WITH_MNIST]
"""

import sys
import time

import numpy as np

from fastconv import data, nn, optim


def main(
    data_dir: str | None = None, epochs: int = 3, batch_size: int = 128, seed: int = 0, limit: int = 60_000
) -> float:
    """Train, print what happens, and return the share of test images that the network has right."""
    rng = np.random.default_rng(seed)
    train, test = data.load_mnist(data_dir)

    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),  # 28x28 -> 14x14
        nn.Conv2d(32, 64, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),  # 14x14 -> 7x7
        nn.Dropout(0.25, rng=rng), nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128, rng=rng), nn.ReLU(),
        nn.Linear(128, 10, rng=rng),
    )  # fmt: skip
    loss = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)

    accuracy = 0.0
    for epoch in range(epochs):
        begin = time.perf_counter()
        model.train()
        for x, y in data.Loader(train[:limit], batch_size, rng=rng):
            scores = model(x)
            loss(scores, y)
            model.backward(loss.backward(), need_grad_x=False)
            optimizer.step()
            optimizer.zero_grad()
        seconds = time.perf_counter() - begin

        model.eval()
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in data.Loader(test, batch_size, shuffle=False))
        accuracy = right / len(test)
        print(f"epoch {epoch + 1}: {accuracy:.2%} of the test images right, {seconds:.1f} s")
    return accuracy


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
