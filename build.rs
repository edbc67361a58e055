//! Links libsonic, which the statically built espeak-ng of piper-rs calls.

fn main() {
    println!("cargo:rustc-link-lib=sonic");
}
