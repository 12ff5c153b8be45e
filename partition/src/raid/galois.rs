//! Arithmetic in the field of 256 elements in which RAID 6 computes its second parity.
//!
//! H. Peter Anvin, *The mathematics of RAID-6*: <https://www.kernel.org/pub/linux/kernel/people/hpa/raid6.pdf>.

/// The polynomial x^8 + x^4 + x^3 + x^2 + 1, of which x, the element 2, generates the field.
const POLYNOMIAL: u16 = 0x11d;
/// How many powers of the generator there are.
const ORDER: usize = 255;

/// The powers of the generator, and at each element which power it is. The first element, zero, is none.
const TABLES: ([u8; ORDER], [u8; 256]) = tables();

const fn tables() -> ([u8; ORDER], [u8; 256]) {
    let (mut powers, mut logarithms) = ([0; ORDER], [0; 256]);
    let (mut element, mut exponent) = (1u16, 0u8);
    while (exponent as usize) < ORDER {
        let [low, _] = element.to_le_bytes();
        powers[exponent as usize] = low;
        logarithms[low as usize] = exponent;
        element <<= 1;
        if element > 0xff {
            element ^= POLYNOMIAL;
        }
        exponent += 1;
    }
    (powers, logarithms)
}

/// The generator to this power.
pub fn power(exponent: usize) -> u8 {
    TABLES.0[exponent % ORDER]
}

/// The product of two elements.
pub fn product(a: u8, b: u8) -> u8 {
    match (a, b) {
        (0, _) | (_, 0) => 0,
        (a, b) => power(usize::from(TABLES.1[usize::from(a)]) + usize::from(TABLES.1[usize::from(b)])),
    }
}

/// The element whose product with this one is 1; `None` for zero, which has none.
pub fn inverse(element: u8) -> Option<u8> {
    (element != 0).then(|| power(ORDER - usize::from(TABLES.1[usize::from(element)])))
}

/// Adds `from` to `to`, element by element. Addition is subtraction.
pub fn add(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= from;
    }
}

/// Adds `from` times `factor` to `to`.
pub fn add_product(to: &mut [u8], from: &[u8], factor: u8) {
    let products = products(factor);
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= products[usize::from(*from)];
    }
}

/// Multiplies every element by `factor`.
pub fn scale(elements: &mut [u8], factor: u8) {
    let products = products(factor);
    for element in elements {
        *element = products[usize::from(*element)];
    }
}

/// Each element times `factor`.
fn products(factor: u8) -> [u8; 256] {
    let mut products = [0; 256];
    for (product_of, element) in products.iter_mut().zip(0..=255) {
        *product_of = product(element, factor);
    }
    products
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_field_with_the_generator_two() {
        // As bits, without tables: the check of what the tables give.
        let slow = |a: u8, b: u8| {
            (0..8).rev().fold(0u8, |sum, bit| {
                let doubled = (sum << 1) ^ if sum & 0x80 == 0 { 0 } else { POLYNOMIAL as u8 };
                if b >> bit & 1 == 1 { doubled ^ a } else { doubled }
            })
        };
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(product(a, b), slow(a, b), "{a} * {b}");
            }
            assert_eq!(inverse(a).map(|inverse| product(a, inverse)), (a != 0).then_some(1));
        }
        assert_eq!((power(0), power(1), power(8), power(255)), (1, 2, 0x1d, 1));
        let mut sum = [1, 2, 3];
        add_product(&mut sum, &[4, 5, 6], 2);
        assert_eq!(sum, [1 ^ 8, 2 ^ 10, 3 ^ 12]);
        add(&mut sum, &[8, 10, 12]);
        scale(&mut sum, 3);
        assert_eq!(sum, [3, 6, 5]);
    }
}
