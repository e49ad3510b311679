"""What a `.keras` file may name: layers, functions and values of Keras that only compute. Everything else is refused.

Not here, because they run or read something else: `Lambda`, `TorchModuleWrapper`, `TFSMLayer`, `JaxLayer`,
`FlaxLayer` (code or other files), `StringLookup`, `IntegerLookup`, `TextVectorization` (vocabulary files),
`SpectralNormalization`, `Pipeline`, and random changes of images, which do nothing once a model is trained.
"""

from collections.abc import Mapping

LAYERS = frozenset(
    """
    InputLayer Dense EinsumDense Embedding Identity Masking Activation ELU LeakyReLU PReLU ReLU Softmax
    AdditiveAttention Attention GroupQueryAttention GroupedQueryAttention MultiHeadAttention
    Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose DepthwiseConv1D DepthwiseConv2D
    SeparableConv1D SeparableConv2D
    Add Average Concatenate Dot Maximum Minimum Multiply Subtract
    BatchNormalization GroupNormalization LayerNormalization RMSNormalization UnitNormalization
    AveragePooling1D AveragePooling2D AveragePooling3D MaxPooling1D MaxPooling2D MaxPooling3D
    AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    CenterCrop Normalization Rescaling Resizing
    RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom
    ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise
    SpatialDropout1D SpatialDropout2D SpatialDropout3D
    Cropping1D Cropping2D Cropping3D Flatten Permute RepeatVector Reshape UpSampling1D UpSampling2D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D
    Bidirectional ConvLSTM1D ConvLSTM2D GRU GRUCell LSTM LSTMCell RNN SimpleRNN SimpleRNNCell StackedRNNCells
    TimeDistributed
    """.split()  # noqa: SIM905
)
INITIALIZERS = frozenset(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal LecunUniform Ones
    Orthogonal OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
    """.split()  # noqa: SIM905
)
REGULARIZERS = frozenset({"L1", "L2", "L1L2", "OrthogonalRegularizer"})
CONSTRAINTS = frozenset({"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"})
DTYPES = frozenset({"float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"})
WHOLE_DTYPES = frozenset({"bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"})
ACTIVATIONS = frozenset(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
    log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparsemax
    squareplus swish tanh tanh_shrink threshold
    """.split()  # noqa: SIM905
)
MODELS: Mapping[str, str] = {"Sequential": "Sequential", "Functional": "Model", "Model": "Model"}
"""How a file calls a kind of model, and the public class that it is built as."""
MODEL_MODULES = frozenset(
    """
    keras keras.models keras.src.models.functional keras.src.models.sequential keras.src.models.model
    keras.src.engine.functional keras.src.engine.sequential keras.src.engine.training
    """.split()  # noqa: SIM905
)
OPERATIONS: Mapping[str, frozenset[str]] = {
    "keras.src.ops.numpy": frozenset(
        """
        Absolute Add Amax Amin Clip Concatenate Divide Exp ExpandDims Flip GetItem Log Matmul Max Maximum Mean Min
        Minimum Moveaxis Multiply Negative Power Ravel Reshape Sign Sqrt Square Squeeze Stack Std Subtract Sum
        Swapaxes Tanh Transpose TrueDivide Var
        """.split()  # noqa: SIM905
    ),
    "keras.src.ops.nn": frozenset(
        """
        Celu Elu Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LeakyRelu LogSigmoid LogSoftmax Normalize Relu Relu6
        Selu Sigmoid Silu SoftShrink Softmax Softplus Softsign SparseSigmoid Sparsemax Squareplus TanhShrink Threshold
        """.split()  # noqa: SIM905
    ),
    "keras.src.ops.math": frozenset({"Logsumexp", "Rsqrt"}),
    "keras.src.ops.core": frozenset({"Cast", "StopGradient"}),
}
MODULES: Mapping[str, frozenset[str]] = {
    "keras.layers": LAYERS,
    "keras.initializers": INITIALIZERS,
    "keras.regularizers": REGULARIZERS,
    "keras.constraints": CONSTRAINTS,
    **OPERATIONS,
}
FUNCTION_MODULES = frozenset({"builtins", "keras.activations", "keras.src.activations.activations", "keras.ops"})
