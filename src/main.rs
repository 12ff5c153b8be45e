//! imgmount: opens disk images and shows the guest's own tree.

fn main() {}
