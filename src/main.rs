//! The `goproxy-operator` command.

use goproxy_operator::api::crd;

fn main() -> anyhow::Result<()> {
    for crd in crd::all() {
        println!("---\n{}", crd::to_yaml(&crd)?);
    }
    Ok(())
}
