//! A writer of vdi, vhd, vhdx and vmdk that shares nothing with the decoders: it lays an image out in any order that the
//! format has room for, and knows the disk in it.

#![expect(clippy::cast_possible_truncation, reason = "the writer's images are small")]

use libdeflater::{CompressionLvl, Compressor};

use super::Random;

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Vdi,
    Vhd,
    Vhdx,
    VmdkSparse,
    VmdkStream,
}

/// An image to be written.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// The distance from the one before, less one, and the seed of each block that is allocated.
    pub(crate) blocks: Vec<(u64, u64)>,
    /// How much of the last block the disk does not have, in sectors.
    pub(crate) short: u64,
    /// Decides the order of everything in the file; 0 for the order in which tools write.
    pub(crate) order: u64,
}

const SECTOR: usize = 512;
const MIB: usize = 1 << 20;

/// A stretch of the file.
enum Unit {
    /// A table or header by its number, and its length.
    Structure(usize, usize),
    /// A block by its index in the plan.
    Block(usize),
}

/// An image that is being laid out.
struct Layout {
    image: Vec<u8>,
    /// Where each structure came to lie.
    structures: Vec<usize>,
    /// Where each block came to lie.
    blocks: Vec<usize>,
}

impl Layout {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.image[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl Plan {
    pub(crate) fn block_size(&self) -> usize {
        match self.kind {
            Kind::Vdi | Kind::Vhdx => MIB,
            Kind::Vhd => 8192,
            Kind::VmdkSparse | Kind::VmdkStream => 4096,
        }
    }

    /// The image, and the disk in it.
    pub(crate) fn write(&self) -> (Vec<u8>, Vec<u8>) {
        let mut next = 0;
        let places: Vec<u64> = self
            .blocks
            .iter()
            .map(|(gap, _)| {
                let place = next + gap;
                next = place + 1;
                place
            })
            .collect();
        let count = next.max(1) as usize;
        let short = (self.short as usize * SECTOR) % self.block_size();
        let mut disk = vec![0; count * self.block_size()];
        let mut contents = Vec::new();
        for (&place, &(_, seed)) in places.iter().zip(&self.blocks) {
            let start = place as usize * self.block_size();
            let range = start..start + self.block_size();
            contents.push(self.content(seed, &mut disk[range]));
        }
        disk.truncate(count * self.block_size() - short);
        let image = match self.kind {
            Kind::Vdi => self.vdi(&places, &contents, &disk),
            Kind::Vhd => self.vhd(&places, &contents, &disk),
            Kind::Vhdx => self.vhdx(&places, &contents, &disk),
            Kind::VmdkSparse | Kind::VmdkStream => self.vmdk(&places, &contents, &disk),
        };
        (image, disk)
    }

    /// Fills a block of the disk, and gives what stands for it in the file.
    fn content(&self, seed: u64, block: &mut [u8]) -> Vec<u8> {
        let mut random = Random::new(seed + 1);
        // Now and then a block is allocated but zero.
        if random.below(5) > 0 {
            random.fill(block);
            let quarter = block.len() / 4;
            block[quarter..2 * quarter].fill(0);
        }
        match self.kind {
            Kind::Vhd => {
                let mut content = vec![0; SECTOR];
                random.fill(&mut content[..2]);
                content.extend_from_slice(block);
                for (sector, data) in block.chunks_mut(SECTOR).enumerate() {
                    if content[sector / 8] & 0x80 >> (sector % 8) == 0 {
                        data.fill(0);
                    }
                }
                content
            }
            Kind::VmdkStream => {
                let mut compressor = Compressor::new(CompressionLvl::default());
                let mut packed = vec![0; compressor.zlib_compress_bound(block.len())];
                let length = compressor.zlib_compress(block, &mut packed).expect("compressed");
                packed.truncate(length);
                packed
            }
            _ => block.to_vec(),
        }
    }

    /// Lays out behind `head` the structures of these lengths, and the blocks, in the plan's order.
    fn lay_out(&self, head: usize, structures: &[usize], contents: &[Vec<u8>], unit: usize) -> Layout {
        let mut units: Vec<Unit> =
            structures.iter().enumerate().map(|(index, &length)| Unit::Structure(index, length)).collect();
        units.extend((0..contents.len()).map(Unit::Block));
        if self.order > 0 {
            let mut random = Random::new(self.order);
            for index in (1..units.len()).rev() {
                units.swap(index, random.below(index as u64 + 1) as usize);
            }
        }
        let mut layout =
            Layout { image: vec![0; head], structures: vec![0; structures.len()], blocks: vec![0; contents.len()] };
        for one in units {
            let offset = layout.image.len().next_multiple_of(unit);
            layout.image.resize(offset, 0);
            match one {
                Unit::Structure(index, length) => {
                    layout.structures[index] = offset;
                    layout.image.resize(offset + length, 0);
                }
                Unit::Block(index) => {
                    layout.blocks[index] = offset;
                    layout.image.extend_from_slice(&contents[index]);
                }
            }
        }
        layout.image.resize(layout.image.len().next_multiple_of(unit), 0);
        layout
    }

    /// Header and block map come first; the blocks behind them have any order.
    fn vdi(&self, places: &[u64], contents: &[Vec<u8>], disk: &[u8]) -> Vec<u8> {
        let count = disk.len().div_ceil(MIB);
        let data = 2 * SECTOR + (4 * count).next_multiple_of(SECTOR);
        let mut layout = self.lay_out(data, &[], contents, SECTOR);
        for (offset, value) in [
            (0x40, 0xbeda_107f_u32),
            (0x44, 0x0001_0001),
            (0x48, 0x190),
            (0x4c, 1),
            (0x154, 1024),
            (0x158, data as u32),
            (0x168, 512),
            (0x170, disk.len() as u32),
            (0x178, 1 << 20),
            (0x180, count as u32),
            (0x184, contents.len() as u32),
        ] {
            layout.put(offset, &value.to_le_bytes());
        }
        let mut random = Random::new(self.order + 7);
        for place in 0..count {
            layout.put(1024 + 4 * place, &(u32::MAX - random.below(2) as u32).to_le_bytes());
        }
        for (place, block) in places.iter().zip(layout.blocks.clone()) {
            layout.put(1024 + 4 * *place as usize, &(((block - data) / MIB) as u32).to_le_bytes());
        }
        layout.image
    }

    fn vhd(&self, places: &[u64], contents: &[Vec<u8>], disk: &[u8]) -> Vec<u8> {
        fn seal(structure: &mut [u8], checksum: usize) {
            let sum: u32 = structure.iter().map(|&byte| u32::from(byte)).sum();
            structure[checksum..checksum + 4].copy_from_slice(&(!sum).to_be_bytes());
        }
        let count = disk.len().div_ceil(self.block_size());
        let mut layout = self.lay_out(SECTOR, &[1024, 4 * count], contents, SECTOR);
        let (header_at, table_at) = (layout.structures[0], layout.structures[1]);
        let mut footer = vec![0; SECTOR];
        footer[..8].copy_from_slice(b"conectix");
        footer[12..16].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
        footer[16..24].copy_from_slice(&(header_at as u64).to_be_bytes());
        // QEMU takes the size from here only for creators that it knows to mean it.
        footer[28..32].copy_from_slice(b"win ");
        footer[48..56].copy_from_slice(&(disk.len() as u64).to_be_bytes());
        footer[60..64].copy_from_slice(&3_u32.to_be_bytes());
        seal(&mut footer, 64);
        let mut header = vec![0; 1024];
        header[..8].copy_from_slice(b"cxsparse");
        header[16..24].copy_from_slice(&(table_at as u64).to_be_bytes());
        header[24..28].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
        header[28..32].copy_from_slice(&(count as u32).to_be_bytes());
        header[32..36].copy_from_slice(&(self.block_size() as u32).to_be_bytes());
        seal(&mut header, 36);
        layout.put(0, &footer);
        layout.put(header_at, &header);
        layout.put(table_at, &vec![0xff; 4 * count]);
        for (place, block) in places.iter().zip(layout.blocks.clone()) {
            layout.put(table_at + 4 * *place as usize, &((block / SECTOR) as u32).to_be_bytes());
        }
        layout.image.extend(footer);
        layout.image
    }

    fn vhdx(&self, places: &[u64], contents: &[Vec<u8>], disk: &[u8]) -> Vec<u8> {
        const KIB: usize = 1 << 10;
        // The log, metadata, the BAT.
        let mut layout = self.lay_out(MIB, &[MIB; 3], contents, MIB);
        let [log, metadata, bat] = layout.structures[..] else { unreachable!("three") };
        layout.put(0, b"vhdxfile");
        for (number, at) in [(1_u8, 64 * KIB), (2, 128 * KIB)] {
            layout.put(at, b"head");
            layout.put(at + 8, &[number]);
            layout.put(at + 66, &[1]);
            layout.put(at + 68, &(MIB as u32).to_le_bytes());
            layout.put(at + 72, &(log as u64).to_le_bytes());
        }
        // What is left in an empty log means nothing.
        let mut random = Random::new(self.order + 1);
        random.fill(&mut layout.image[log..log + 5000]);
        let regions = 192 * KIB;
        layout.put(regions, b"regi");
        layout.put(regions + 8, &[2]);
        for (index, (guid, at)) in [
            (0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08_u128, bat),
            (0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e, metadata),
        ]
        .into_iter()
        .enumerate()
        {
            let entry = regions + 16 + 32 * index;
            layout.put(entry, &guid_bytes(guid));
            layout.put(entry + 16, &(at as u64).to_le_bytes());
            layout.put(entry + 24, &(MIB as u32).to_le_bytes());
            layout.put(entry + 28, &[1]);
        }
        layout.put(metadata, b"metadata");
        layout.put(metadata + 10, &[5]);
        for (index, (guid, item)) in [
            (0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b_u128, (MIB as u64).to_le_bytes().to_vec()),
            (0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8, (disk.len() as u64).to_le_bytes().to_vec()),
            (0xbeca_12ab_b2e6_4523_93ef_c309_e000_c746, vec![7; 16]),
            (0x8141_bf1d_a96f_4709_ba47_f233_a8fa_ab5f, 512_u32.to_le_bytes().to_vec()),
            (0xcda3_48c7_445d_4471_9cc9_e988_5251_c556, 4096_u32.to_le_bytes().to_vec()),
        ]
        .into_iter()
        .enumerate()
        {
            let entry = metadata + 32 + 32 * index;
            let place = 64 * KIB + 16 * index;
            layout.put(entry, &guid_bytes(guid));
            layout.put(entry + 16, &(place as u32).to_le_bytes());
            layout.put(entry + 20, &(item.len() as u32).to_le_bytes());
            layout.put(entry + 24, &[0b110]);
            layout.put(metadata + place, &item);
        }
        for place in 0..disk.len().div_ceil(MIB) {
            layout.put(bat + 8 * place, &random.below(4).to_le_bytes());
        }
        for (place, block) in places.iter().zip(layout.blocks.clone()) {
            layout.put(bat + 8 * *place as usize, &(block as u64 | 6).to_le_bytes());
        }
        for (at, length) in [(64 * KIB, 4 * KIB), (128 * KIB, 4 * KIB), (regions, 64 * KIB)] {
            let sum = crc32c(&layout.image[at..at + length]);
            layout.put(at + 4, &sum.to_le_bytes());
        }
        layout.image
    }

    fn vmdk(&self, places: &[u64], contents: &[Vec<u8>], disk: &[u8]) -> Vec<u8> {
        let stream = self.kind == Kind::VmdkStream;
        let grains: Vec<Vec<u8>> = if stream {
            let marked = |(place, data): (&u64, &Vec<u8>)| {
                let sector = place * (self.block_size() / SECTOR) as u64;
                [&sector.to_le_bytes()[..], &(data.len() as u32).to_le_bytes(), data].concat()
            };
            places.iter().zip(contents).map(marked).collect()
        } else {
            contents.to_vec()
        };
        let tables = disk.len().div_ceil(self.block_size() * 512);
        let used: Vec<usize> =
            (0..tables).filter(|table| places.iter().any(|place| *place as usize / 512 == *table)).collect();
        let lengths = [vec![4 * tables], vec![2048; used.len()]].concat();
        let mut layout = self.lay_out(4 * SECTOR, &lengths, &grains, SECTOR);
        let create_type = if stream { "streamOptimized" } else { "monolithicSparse" };
        let (size, grain) = ((disk.len() / SECTOR) as u64, (self.block_size() / SECTOR) as u64);
        let mut header = b"KDMV\x03\0\0\0".to_vec();
        header.extend(if stream { 0x3_0001_u32 } else { 1 }.to_le_bytes());
        for value in [size, grain, 1, 3] {
            header.extend(value.to_le_bytes());
        }
        header.extend(512_u32.to_le_bytes());
        let directory = layout.structures[0];
        for value in [0, (directory / SECTOR) as u64, 4] {
            header.extend(value.to_le_bytes());
        }
        header.extend(b"\0\n \r\n");
        header.extend([u8::from(stream), 0]);
        layout.put(0, &header);
        let descriptor = format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"{create_type}\"\n\
             RW {size} SPARSE \"disk.vmdk\"\n"
        );
        layout.put(SECTOR, descriptor.as_bytes());
        for (index, table) in used.iter().enumerate() {
            let at = layout.structures[1 + index];
            layout.put(directory + 4 * table, &((at / SECTOR) as u32).to_le_bytes());
            for (place, block) in places.iter().zip(layout.blocks.clone()) {
                if *place as usize / 512 == *table {
                    layout.put(at + 4 * (*place as usize % 512), &((block / SECTOR) as u32).to_le_bytes());
                }
            }
        }
        layout.image
    }
}

/// A GUID as it lies in a file: its first three parts little-endian.
fn guid_bytes(guid: u128) -> [u8; 16] {
    let mut bytes = guid.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
