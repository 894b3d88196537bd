//! The applied configuration of a node, kept on its disk.
