# Shared by the examples: what they make goes to runs/, and what is there already is not made again.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release --locked --workspace --bins

latent() { target/release/latent "$@"; }
judge() { target/release/judge "$@"; }

# trained NAME: trains examples/NAME.toml into runs/NAME, from where it was stopped.
trained() {
  [ -d "runs/$1/model" ] || latent train "examples/$1.toml" --out "runs/$1" --resume
}
