//! imgmount: opens disk images of virtual machines and shows the guest's own tree, without root.

pub mod background;
pub mod fuse;
pub mod unmount;
