"""Whether a picture can be trusted: judged on what the model sees, against what it was calibrated on."""
