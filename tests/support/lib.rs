//! What the integration tests share: fixtures, hosts, and independent readers of trees.
