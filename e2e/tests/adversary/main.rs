//! An adversary with `edit` in a namespace of its own, while claims of others are filled: nothing that it writes there
//! changes anything for anybody else. design.md, section 4, points 13 to 16.
//!
//! What bears our names and labels is forged by an account that the project's admission policies let through
//! (`vmdisk_e2e::testing::tenant`): they are a second wall, on which nothing may rest. What an adversary does in the
//! images' own namespace needs the policy's short waits, and is in `serial`.
//!
//! | module | attack |
//! |---|---|
//! | `pods` | workers that are none |
//! | `claims` | primes and claims that are none |
//! | `records` | records of syncs that are none |
//! | `bulk` | more of all than fits into memory |
//! | `overflow` | answers of servers, and claims, beyond every bound |
//! | `turning` | a claim that changes its mind, a grant that is taken back, a claim made again and again |

mod bulk;
mod claims;
mod lair;
mod overflow;
mod pods;
mod records;
mod turning;
