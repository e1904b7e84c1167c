"""Numbers of the paper's figure and of the authors' stored runs, as the sheet has them."""

import numpy as np

# Members until 90 % of 1000 inputs of two ones are right: width 50,000, standard parametrization, one trial each.
SIZES = (
    *(1, 2, 10, 43, 34, 29, 40, 37, 69, 70, 62, 72, 56, 103, 89, 105, 105),
    *(106, 117, 131, 128, 124, 150, 157, 157, 162, 165, 174, 175),
)
STORED = dict(zip(range(2, 31), SIZES, strict=True))

# The same until 99.9 %.
STORED_999 = {5: 43, 10: 129, 15: 163, 20: 254, 25: 308, 30: 318}

# Test error of the stored run of length 10, with its 69 members.
STORED_ERROR = 0.0021144

# Length, members by the paper's bound for 1000 inputs and failure 0.1.
BOUND = {2: 6705, 3: 5949, 5: 5687, 10: 6560, 15: 7904, 20: 9383, 25: 10927, 30: 12510}

# Lengths, and members of the exact rule by kernel and accuracy.
LENGTHS = np.array([3, 4, 5, 6, 8, 10, 12, 15, 18, 20, 25, 30])
EXACT = {
    ("nngp", 0.9): [12, 21, 28, 34, 46, 58, 70, 89, 108, 121, 155, 190],
    ("nngp", 0.999): [70, 84, 96, 108, 132, 156, 181, 219, 258, 284, 351, 419],
    ("ntk", 0.9): [112, 169, 205, 233, 284, 333, 381, 454, 528, 579, 708, 840],
    ("ntk", 0.999): [646, 685, 716, 748, 821, 902, 987, 1123, 1263, 1359, 1603, 1854],
}
