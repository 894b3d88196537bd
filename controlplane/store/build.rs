//! Keeps the build independent of any database, and up to date with the migrations.
//!
//! The query macros would connect to `DATABASE_URL` if the caller's shell has one, which names the
//! database to *run* on. They read the committed `.sqlx` instead, unless `prepare-queries.sh`, which
//! writes it, says otherwise.

fn main() {
    println!("cargo::rerun-if-env-changed=TESSERA_PREPARE_QUERIES");
    println!("cargo::rerun-if-changed=../../migrations");
    println!("cargo::rerun-if-changed=.sqlx");
    let preparing = std::env::var_os("TESSERA_PREPARE_QUERIES").is_some();
    println!("cargo::rustc-env=SQLX_OFFLINE={}", !preparing);
}
