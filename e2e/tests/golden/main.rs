//! Golden data: an image is fetched once for each class, before anybody needs it, and claims are cut from it.

mod lab;
mod preload;
