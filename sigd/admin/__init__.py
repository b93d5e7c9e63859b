"""The language of the admin socket, which `sigctl` and the daemon share: `questions` and `replies`."""
