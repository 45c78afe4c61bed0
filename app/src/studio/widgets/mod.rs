//! Small parts that panes share.

pub mod buttons;
pub mod labels;
pub mod legend;
pub mod matrix;
pub mod path_field;
pub mod picture;
pub mod plots;
