"""What a server of exported models needs beside them: TensorFlow Serving's configuration, versions and labels."""
