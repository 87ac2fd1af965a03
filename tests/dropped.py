"""What each real acquisition becomes when it is dropped: the layers' names, shapes, scales, units and tilts.

Steps were compared with what RosettaSciIO, mrcfile and the vendors' own tags say, and with the folder's README.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One layer. ``tilt`` is the stage's in degree, or the first and the last of a series, or None where unknown."""

    name: str
    shape: tuple[int, ...]
    scale: tuple[float, ...]
    units: str
    tilt: float | tuple[float, float] | None


# A file without layers says what is missing: SerialEM's metadata of stacks that are not in the folder.
DROPPED: dict[str, list[Row]] = {
    "berkeley_emd/Acquisition_18.emd": [
        Row("single", (1024, 1024), (0.0122465, 0.0122465), "nm nm", None),
    ],
    "bruker/test_TEM.bcf": [
        Row("HAADF", (64, 64), (0.771005, 0.771005), "nm nm", None),
        Row("EDX", (2048, 1, 64, 64), (10.001, 0.771005, 0.771005, 0.771005), "eV nm nm nm", None),
    ],
    "dm/dmTest_3D_int16_64,65,66.dm3": [
        Row("image3D_int16_64,65,66", (66, 65, 64), (4000, 3, 0.002), "nm nm nm", None),
    ],
    "dm/dmTest_3D_int16_64,65,66.dm4": [
        Row("image3D_int16_64,65,66", (66, 65, 64), (4000, 3, 0.002), "nm nm nm", None),
    ],
    "dm/dmTest_float32_nonSquare_diffPixelSize.dm4": [
        Row("dmTest_float32_nonSquare_diffPixelSize", (64, 128), (0.2, 1), "nm nm", None),
    ],
    "dm/multi_signal.dm3": [
        Row("HAADF", (512, 512), (0.0177516, 0.0177516), "nm nm", 0.001952),
        Row("Plot [uncalibrated]", (512, 1, 1, 1), (1, 1, 1, 1), "eV nm nm nm", None),
    ],
    "dm/test_STEM_image.dm3": [
        Row("test_STEM_image", (68, 68), (0.248538, 0.248538), "nm nm", 24.95),
    ],
    "dm/test_diffraction_pattern.dm3": [
        Row("test_diffraction_pattern [1/nm]", (87, 87), (0.174433, 0.174433), "nm nm", None),
    ],
    "dm_eels/DMReader_EELS_STO.dm3": [
        Row("01-EELS Acquire_STO", (2048, 1, 1, 1), (0.25, 1, 1, 1), "eV nm nm nm", None),
    ],
    "dm_eels/DMReader_EELS_STO.dm4": [
        Row("EELS_STO", (2048, 1, 1, 1), (0.25, 1, 1, 1), "eV nm nm nm", None),
    ],
    "dm_eels/DMReader_Image_SI-Survey.dm3": [
        Row("06-SI Survey Image [uncalibrated]", (512, 512), (1, 1), "nm nm", None),
    ],
    "dm_eels/DMReader_SI-HAADF.dm3": [
        Row("06-HAADF [uncalibrated]", (1568, 192), (1 / 32, 1 / 32), "nm nm", None),
    ],
    "dm_eels/DMReader_SpectrumImage_SI-EELS.dm3": [
        Row("06-EELS Spectrum Image [uncalibrated]", (1024, 1, 49, 6), (0.5, 1, 1, 1), "eV nm nm nm", None),
    ],
    "fusion/PTO_Trilayer_dataset.npz": [
        Row("HAADF [uncalibrated]", (256, 256), (1, 1), "nm nm", None),
        Row("Sc [uncalibrated]", (256, 256), (1, 1), "nm nm", None),
        Row("Dy [uncalibrated]", (256, 256), (1, 1), "nm nm", None),
        Row("O [uncalibrated]", (256, 256), (1, 1), "nm nm", None),
    ],
    "fusion/maps_CuZn_EELS.npz": [
        Row("Cu [uncalibrated]", (50, 40), (1, 1), "nm nm", None),
        Row("Cu_raw [uncalibrated]", (50, 40), (1, 1), "nm nm", None),
        Row("Cu_bgmap [uncalibrated]", (50, 40), (1, 1), "nm nm", None),
        Row("Zn [uncalibrated]", (50, 40), (1, 1), "nm nm", None),
        Row("Zn_raw [uncalibrated]", (50, 40), (1, 1), "nm nm", None),
        Row("Zn_bgmap [uncalibrated]", (50, 40), (1, 1), "nm nm", None),
        Row("HAADF [uncalibrated]", (50, 40), (1, 1), "nm nm", None),
    ],
    "hspy/example2_v3.1.hspy": [
        Row("test_diffraction_pattern [1/nm]", (16, 16), (0.174433, 0.174433), "nm nm", 10),
    ],
    "mrc/Custom_movie.mrc": [
        Row("Custom_movie [uncalibrated]", (30, 1, 16, 16), (1, 1, 1, 1), "pixel nm nm nm", None),
    ],
    "mrc/EMD-3001.map": [
        Row("EMD-3001", (73, 25, 43), (0.045875, 0.03925, 0.044825), "nm nm nm", None),
    ],
    "mrc/EMD-3197.map": [
        Row("EMD-3197", (20, 20, 20), (1.14, 1.14, 1.14), "nm nm nm", None),
    ],
    "mrc/HAADFscan.mrc": [
        Row("HAADFscan", (16, 16), (5.67913, 5.67913), "nm nm", 0.008116),
    ],
    "mrc/temp.mrc": [
        Row("temp", (3, 1, 128, 128), (1, 0.2, 0.2, 0.2), "pixel nm nm nm", None),
    ],
    "prz/panta_rhei_sample.prz": [
        Row("O", (16, 16), (7.79583, 7.79583), "nm nm", None),
    ],
    "ser/03_Scanning Preview.emi": [
        Row("03_Scanning Preview", (5, 1, 128, 128), (1, 0.384352, 0.384352, 0.384352), "pixel nm nm nm", 0),
    ],
    "ser/03_Scanning Preview_1.ser": [
        Row("03_Scanning Preview_1", (5, 1, 128, 128), (1, 0.384352, 0.384352, 0.384352), "pixel nm nm nm", 0),
    ],
    "ser/16_STOimage.emi": [
        Row("16_STOimage", (1024, 1024), (0.0100127, 0.0100127), "nm nm", 0),
    ],
    "ser/16_STOimage_1.ser": [
        Row("16_STOimage_1", (1024, 1024), (0.0100127, 0.0100127), "nm nm", 0),
    ],
    "tif/FEI-Helios-Ebeam-16bits.tif": [
        Row("FEI-Helios-Ebeam-16bits", (471, 512), (3372.4, 3372.4), "nm nm", 0.000375),
    ],
    "tif/TVIPS_bin4.tif": [
        Row("TVIPS_bin4", (1024, 1024), (1.4208, 1.4208), "nm nm", -0.007),
    ],
    "tif/test_loading_image_saved_with_DM.tif": [
        Row("test_loading_image_saved_with_DM", (68, 68), (168.675, 168.675), "nm nm", None),
    ],
    "tif/test_tiff_Zeiss_SEM_512pix.tif": [
        Row("test_tiff_Zeiss_SEM_512pix", (384, 512), (11.65, 11.65), "nm nm", 0),
    ],
    "tilt/BF_001.dm3": [
        Row("BF_001", (128, 128), (19.1087, 19.1087), "nm nm", -72),
    ],
    "tilt/BF_002.dm3": [
        Row("BF_002", (128, 128), (19.1087, 19.1087), "nm nm", -69),
    ],
    "tilt/HAADF.mrc": [
        Row("HAADF", (77, 1, 256, 256), (2, 3.36, 3.36, 3.36), "degree nm nm nm", (-76, 76)),
    ],
    "tilt/HAADF.rawtlt": [
        Row("HAADF", (77, 1, 256, 256), (2, 3.36, 3.36, 3.36), "degree nm nm nm", (-76, 76)),
    ],
    "tilt/HAADF_stack.dm3": [
        Row("HAADF_Rebin16", (91, 1, 64, 64), (2, 17.9949, 17.9949, 17.9949), "degree nm nm nm", (-90, 90)),
    ],
    "tilt/test_000.mdoc": [],
    "tilt/tilt_series.mdoc": [],
    "velox/Camera Ceta Imaging Micro.emd": [
        Row("Ceta", (512, 512), (3.13884, 3.13884), "nm nm", -0.0001797),
    ],
    "velox/EMDReader_Image_FEI.emd": [
        Row("HAADF", (512, 512), (5.30241, 5.30241), "nm nm", 0.006344),
    ],
    "velox/EMDReader_SpectrumImage_Si.emd": [
        Row("EDS", (4096, 1, 16, 16), (10, 5.30241, 5.30241, 5.30241), "eV nm nm nm", 0.006344),
        Row("HAADF", (16, 16), (5.30241, 5.30241), "nm nm", 0.006344),
    ],
    "velox/SI_empty selection.emd": [
        Row("EDS", (4096, 1, 16, 20), (5, 1.99685, 1.99685, 1.99685), "eV nm nm nm", 0.00976),
        Row("HAADF", (16, 20), (1.99685, 1.99685), "nm nm", 0.00976),
    ],
    "velox/STEM HAADF-DF4-DF2-BF Diffraction Micro.emd": [
        Row("HAADF", (128, 128), (87.3708, 87.3708), "nm nm", -0.0001797),
        Row("DF2", (128, 128), (87.3708, 87.3708), "nm nm", -0.0001797),
        Row("BF", (128, 128), (87.3708, 87.3708), "nm nm", -0.0001797),
        Row("DF4", (128, 128), (87.3708, 87.3708), "nm nm", -0.0001797),
    ],
    "velox/Test SI 16x16 215 kx.emd": [
        Row("EDS", (4096, 1, 16, 16), (10, 3.59925, 3.59925, 3.59925), "eV nm nm nm", 0.005113),
        Row("HAADF", (16, 16), (3.59925, 3.59925), "nm nm", 0.005113),
        Row("C", (16, 16), (3.59925, 3.59925), "nm nm", 0.005113),
        Row("Ca", (16, 16), (3.59925, 3.59925), "nm nm", 0.005113),
        Row("O", (16, 16), (3.59925, 3.59925), "nm nm", 0.005113),
        Row("Cu", (16, 16), (3.59925, 3.59925), "nm nm", 0.005113),
    ],
    "velox/example_velox_EELS_EDS.emd": [
        Row("EDS", (4096, 1, 16, 20), (10, 158.658, 158.658, 158.658), "eV nm nm nm", -0.0001797),
        Row("EELS -22…325 eV", (2048, 1, 16, 20), (0.1692, 158.658, 158.658, 158.658), "eV nm nm nm", -0.0001797),
        Row("EELS 480…826 eV", (2048, 1, 16, 20), (0.1692, 158.658, 158.658, 158.658), "eV nm nm nm", -0.0001797),
        Row("EELS 800…1146 eV", (2048, 1, 16, 20), (0.1692, 158.658, 158.658, 158.658), "eV nm nm nm", -0.0001797),
        Row("DF-S", (16, 20), (158.658, 158.658), "nm nm", -0.0001797),
        Row("Ref DF-S", (128, 128), (158.658, 158.658), "nm nm", -0.0001797),
        Row("Fe-EELS", (16, 20), (158.658, 158.658), "nm nm", -0.0001797),
        Row("Co-EELS", (16, 20), (158.658, 158.658), "nm nm", -0.0001797),
        Row("O-EELS", (16, 20), (158.658, 158.658), "nm nm", -0.0001797),
        Row("Co", (16, 20), (158.658, 158.658), "nm nm", -0.0001797),
        Row("O", (16, 20), (158.658, 158.658), "nm nm", -0.0001797),
        Row("Fe", (16, 20), (158.658, 158.658), "nm nm", -0.0001797),
    ],
    "velox/fei_example_dpc_titles.emd": [
        Row("B-D", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
        Row("DPC amplitude", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
        Row("DPC phase", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
        Row("iDPC", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
        Row("DF4-C", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
        Row("DF4-B", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
        Row("DF4-A", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
        Row("A-C", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
        Row("DF4-D", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
        Row("Filtered iDPC", (2, 2), (0.0996199, 0.0996199), "nm nm", 4.673),
    ],
    "velox/fei_example_tem_stack.emd": [
        Row("Ceta", (2, 1, 3, 3), (1, 0.00817288, 0.00817288, 0.00817288), "pixel nm nm nm", -12.59),
    ],
    "zspy/signal1d_10x10-ZipStore.zspy": [
        Row("signal1d_10x10-ZipStore [uncalibrated]", (10, 1, 1, 10), (1, 1, 1, 1), "eV nm nm nm", None),
    ],
}
