//! A qcow2 writer that shares nothing with the decoder: it lays an image out in any order, and knows the disk in it.

#![expect(clippy::cast_possible_truncation, reason = "the writer's images are small")]

use libdeflater::{CompressionLvl, Compressor};

use super::Random;

/// What a guest cluster is.
#[derive(Clone, Debug)]
pub(crate) enum Cluster {
    /// Zero by its flag (version 3), with a host cluster of garbage or none.
    Zero { allocated: bool },
    /// A host cluster of data.
    Data { seed: u64 },
    /// A host cluster of zeros.
    Zeros,
    /// The host cluster of the last one before it that has data of its own.
    Shared,
    /// Compressed data.
    Compressed { seed: u64 },
    /// Some subclusters of data (extended L2).
    Parts { allocated: u32, zero: u32, seed: u64 },
}

/// An image to be written.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) version: u32,
    pub(crate) cluster_bits: u32,
    pub(crate) extended: bool,
    pub(crate) zstd: bool,
    /// The distance from the one before, less one, and the kind of each guest cluster that has an entry.
    pub(crate) clusters: Vec<(u64, Cluster)>,
    /// Bytes of disk behind the last of them; the disk may end within it.
    pub(crate) tail: i64,
    /// Clusters that nothing refers to.
    pub(crate) leaked: usize,
    /// Decides the order of everything in the file; 0 for the order in which QEMU allocates.
    pub(crate) order: u64,
}

/// A stretch of the file that stays together, in whole clusters.
enum Unit {
    RefcountTable,
    L1,
    L2(usize),
    /// The data of the guest clusters of these indices.
    Data(Vec<usize>),
    /// Compressed data, back to back, of these guest clusters.
    Packed(Vec<usize>),
    Leaked(u64),
}

struct Entry {
    guest: u64,
    cluster: Cluster,
    value: u64,
    bitmap: u64,
}

impl Plan {
    fn size(&self) -> usize {
        1 << self.cluster_bits
    }

    fn entry_size(&self) -> usize {
        if self.extended { 16 } else { 8 }
    }

    fn content(&self, seed: u64, compressible: bool) -> Vec<u8> {
        let mut random = Random::new(seed + 1);
        let mut data = vec![0; self.size()];
        if compressible {
            for word in data.chunks_mut(16) {
                let value = random.below(4) as u8 + 1;
                word.fill(value);
            }
        } else {
            random.fill(&mut data);
        }
        data
    }

    /// Compressed content, or `None` when it does not get smaller: then QEMU stores it plain.
    fn packed(&self, seed: u64) -> Option<Vec<u8>> {
        let content = self.content(seed, true);
        let data = if self.zstd {
            zstd::bulk::compress(&content, 1).expect("compressed")
        } else {
            let mut compressor = Compressor::new(CompressionLvl::default());
            let mut out = vec![0; compressor.deflate_compress_bound(content.len())];
            let length = compressor.deflate_compress(&content, &mut out).expect("compressed");
            out.truncate(length);
            out
        };
        (data.len() < self.size()).then_some(data)
    }

    /// The image, and the disk in it.
    pub(crate) fn write(&self) -> (Vec<u8>, Vec<u8>) {
        let mut guest = 0;
        let mut entries: Vec<Entry> = Vec::new();
        for (gap, cluster) in &self.clusters {
            guest += gap;
            entries.push(Entry { guest, cluster: cluster.clone(), value: 0, bitmap: 0 });
            guest += 1;
        }
        let least = guest.saturating_sub(1) * self.size() as u64 + 1;
        let end = (guest * self.size() as u64).max(1);
        let virtual_size = end.saturating_add_signed(self.tail).max(least);
        let per_table = (self.size() / self.entry_size()) as u64;
        let tables = virtual_size.div_ceil(self.size() as u64).div_ceil(per_table) as usize;

        let mut image = vec![0; self.size()];
        let units = self.units(&entries, tables, per_table);
        let mut l2_offsets = vec![0; tables];
        let mut l1_offset = 0;
        let mut refcounts = 0;
        let mut exact_end = None;
        for unit in &units {
            let offset = image.len() as u64;
            exact_end = None;
            match unit {
                Unit::RefcountTable => {
                    refcounts = offset;
                    image.resize(image.len() + self.size(), 0);
                }
                Unit::L1 => {
                    l1_offset = offset;
                    image.resize(image.len() + (tables * 8).next_multiple_of(self.size()), 0);
                }
                Unit::L2(index) => {
                    l2_offsets[*index] = offset;
                    image.resize(image.len() + self.size(), 0);
                }
                Unit::Data(indices) => {
                    for &index in indices {
                        self.place(&mut entries[index], &mut image);
                    }
                }
                Unit::Packed(indices) => {
                    for &index in indices {
                        self.pack(&mut entries[index], &mut image);
                    }
                    exact_end = Some(image.len());
                    image.resize(image.len().next_multiple_of(self.size()), 0xa5);
                }
                Unit::Leaked(seed) => image.extend(self.content(*seed, false)),
            }
        }
        // The last compressed cluster may end the file, short of a sector.
        if let Some(end) = exact_end {
            image.truncate(end);
        }
        share(&mut entries);
        let mut put = |offset: u64, bytes: &[u8]| {
            let start = offset as usize;
            image[start..start + bytes.len()].copy_from_slice(bytes);
        };
        for entry in &entries {
            let table = l2_offsets[(entry.guest / per_table) as usize];
            let at = table + entry.guest % per_table * self.entry_size() as u64;
            put(at, &entry.value.to_be_bytes());
            if self.extended {
                put(at + 8, &entry.bitmap.to_be_bytes());
            }
        }
        for (index, &offset) in l2_offsets.iter().enumerate() {
            if offset > 0 {
                put(l1_offset + index as u64 * 8, &(offset | 1 << 63).to_be_bytes());
            }
        }
        put(0, &self.header(virtual_size, tables, l1_offset, refcounts));
        (image, self.disk(&entries, virtual_size))
    }

    fn units(&self, entries: &[Entry], tables: usize, per_table: u64) -> Vec<Unit> {
        let mut units = vec![Unit::RefcountTable, Unit::L1];
        for table in 0..tables {
            let mine = |index: &usize| (entries[*index].guest / per_table) as usize == table;
            let indices: Vec<usize> = (0..entries.len()).filter(mine).collect();
            if !indices.is_empty() {
                units.push(Unit::L2(table));
            }
            let compressed = |index: &&usize| matches!(entries[**index].cluster, Cluster::Compressed { .. });
            let packed: Vec<usize> = indices.iter().filter(compressed).copied().collect();
            let plain = indices.iter().filter(|index| !compressed(index)).copied();
            if self.order == 0 {
                units.push(Unit::Data(plain.collect()));
            } else {
                units.extend(plain.map(|index| Unit::Data(vec![index])));
            }
            units.extend(packed.chunks(7).map(|some| Unit::Packed(some.to_vec())));
        }
        units.extend((0..self.leaked).map(|seed| Unit::Leaked(seed as u64)));
        if self.order > 0 {
            let mut random = Random::new(self.order);
            for index in (1..units.len()).rev() {
                units.swap(index, random.below(index as u64 + 1) as usize);
            }
        }
        units
    }

    fn place(&self, entry: &mut Entry, image: &mut Vec<u8>) {
        let offset = image.len() as u64;
        match entry.cluster {
            Cluster::Zero { allocated: false } => {
                (entry.value, entry.bitmap) = if self.extended { (0, u64::MAX << 32) } else { (1, 0) };
            }
            Cluster::Zero { allocated: true } => {
                image.extend(self.content(offset, false));
                (entry.value, entry.bitmap) = if self.extended { (offset, u64::MAX << 32) } else { (offset | 1, 0) };
            }
            Cluster::Data { seed } => {
                image.extend(self.content(seed, false));
                (entry.value, entry.bitmap) = (offset | 1 << 63, u64::from(u32::MAX));
            }
            Cluster::Zeros => {
                image.resize(image.len() + self.size(), 0);
                (entry.value, entry.bitmap) = (offset | 1 << 63, u64::from(u32::MAX));
            }
            Cluster::Parts { allocated, zero, seed } => {
                image.extend(self.content(seed, false));
                let zero = zero & !allocated;
                entry.value = offset | 1 << 63;
                entry.bitmap = u64::from(zero) << 32 | u64::from(allocated);
            }
            Cluster::Shared | Cluster::Compressed { .. } => {}
        }
    }

    fn pack(&self, entry: &mut Entry, image: &mut Vec<u8>) {
        let Cluster::Compressed { seed } = entry.cluster else {
            return;
        };
        let data = self.packed(seed).expect("checked by the plan");
        let offset = image.len() as u64;
        image.extend(&data);
        let further = (image.len() as u64 - 1) / 512 - offset / 512;
        entry.value = 1 << 62 | further << (62 - (self.cluster_bits - 8)) | offset;
    }

    fn header(&self, virtual_size: u64, tables: usize, l1: u64, refcounts: u64) -> Vec<u8> {
        let mut header = b"QFI\xfb".to_vec();
        let put32 = |header: &mut Vec<u8>, value: u32| header.extend(value.to_be_bytes());
        let put64 = |header: &mut Vec<u8>, value: u64| header.extend(value.to_be_bytes());
        put32(&mut header, self.version);
        put64(&mut header, 0);
        put32(&mut header, 0);
        put32(&mut header, self.cluster_bits);
        put64(&mut header, virtual_size);
        put32(&mut header, 0);
        put32(&mut header, tables as u32);
        put64(&mut header, l1);
        put64(&mut header, refcounts);
        put32(&mut header, 1);
        put32(&mut header, 0);
        put64(&mut header, 0);
        if self.version == 3 {
            let features = u64::from(self.zstd) << 3 | u64::from(self.extended) << 4;
            put64(&mut header, features);
            put64(&mut header, 0);
            put64(&mut header, 0);
            put32(&mut header, 4);
            put32(&mut header, 112);
            header.extend([u8::from(self.zstd), 0, 0, 0, 0, 0, 0, 0]);
        }
        header
    }

    fn disk(&self, entries: &[Entry], virtual_size: u64) -> Vec<u8> {
        let mut disk = vec![0; virtual_size as usize];
        for entry in entries {
            let content = match entry.cluster {
                Cluster::Data { seed } => self.content(seed, false),
                Cluster::Compressed { seed } => self.content(seed, true),
                Cluster::Parts { allocated, seed, .. } => {
                    let mut data = self.content(seed, false);
                    for (part, bytes) in data.chunks_mut(self.size() / 32).enumerate() {
                        if allocated >> part & 1 == 0 {
                            bytes.fill(0);
                        }
                    }
                    data
                }
                Cluster::Zero { .. } | Cluster::Zeros | Cluster::Shared => continue,
            };
            let start = entry.guest as usize * self.size();
            let end = disk.len().min(start + self.size());
            disk[start..end].copy_from_slice(&content[..end - start]);
        }
        disk
    }
}

/// Gives those that share a cluster what they share.
fn share(entries: &mut [Entry]) {
    let mut last: Option<(u64, u64, Cluster)> = None;
    for entry in entries {
        match (&entry.cluster, &last) {
            (Cluster::Data { .. }, _) => {
                entry.value &= !(1 << 63);
                last = Some((entry.value, entry.bitmap, entry.cluster.clone()));
            }
            (Cluster::Shared, Some((value, bitmap, cluster))) => {
                (entry.value, entry.bitmap) = (*value, *bitmap);
                entry.cluster = cluster.clone();
            }
            _ => {}
        }
    }
}
