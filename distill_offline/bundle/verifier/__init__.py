"""What travels on a bundle's top level to the isolated side; nothing here imports the package."""
