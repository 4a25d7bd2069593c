"""`probunet`, as one process of a test: with several virtual CPUs, or dying after a training step.

    python tests/device_worker.py '{"virtual": 4, "kill_at": 3}' train --data ...
"""

import json
import os
import signal
import sys

import tensorflow as tf

from tf_probunet import callbacks
from tf_probunet.cli import main

options = json.loads(sys.argv.pop(1))
if "virtual" in options:
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0],
                                               [tf.config.LogicalDeviceConfiguration()] * options["virtual"])
if "kill_at" in options:
    count = callbacks.LastStep.on_train_batch_end

    def count_and_die(self, batch, logs=None):
        count(self, batch, logs)
        if self.step == options["kill_at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    callbacks.LastStep.on_train_batch_end = count_and_die
main.run()
