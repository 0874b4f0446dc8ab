"""What installs a bundle on the isolated side; install.py travels beside verify.py and imports nothing of ours."""
