"""Trains some models for four steps on one device and on two, and prints by how much their weights differ.

    python tests/device_steps.py '[{"model": "dropout_unet"}, {"geco_kappa": 0.3}]'
"""

import json
import sys

import numpy as np
import tensorflow as tf

from tf_probunet.build import build_model, build_optimizer
from tf_probunet.devices import Devices, find_devices
from tf_probunet.experiment import Experiment

TINY = Experiment(channels=(4, 8), num_convs=1, latent_dim=2, combiner_channels=(6,), initializer="he_normal",
                  batch_size=12, learning_rate=3e-3, clipnorm=1.0, ema_momentum=0.5, num_heads=3, precision="float32")
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0],
                                           [tf.config.LogicalDeviceConfiguration()] * 2)
random = np.random.default_rng(0)
images = random.random((12, 16, 16, 1), np.float32)
segmentations = random.integers(0, 2, (12, 16, 16), np.int32)


def batches(part, pieces):
    assert part == (0, 1)  # of processes
    return tf.data.Dataset.from_tensors((images, segmentations)).repeat().rebatch(12 // pieces)


def trained(experiment, devices):
    with devices.scope():
        model = build_model(experiment)
        model.compile(build_optimizer(experiment), accumulation_steps=experiment.accumulation_steps)
    history = model.fit(devices.distribute(batches), steps_per_epoch=4, verbose=0)
    return [weight.numpy() for weight in model.weights], {name: row[-1] for name, row in history.history.items()}


found = []
for fields in json.loads(sys.argv[1]):
    (one, logs), (two, other_logs) = (trained(TINY.replace(**fields), devices) for devices in
                                      (Devices(), find_devices(2)))
    found.append({
        "weights": max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True)),
        "logs": max(abs(logs[name] / other_logs[name] - 1) for name in logs),
    })
print(json.dumps(found))
