"""What the rooms of Thinwire share: the wire contract, errors, images, bundles and a few layers."""
