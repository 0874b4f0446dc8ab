"""The air-gap bundle: built and signed on the connected side, verified and installed on the isolated one."""
