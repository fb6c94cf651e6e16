/* qlora.h is C: this file compiles it as such. */
#include "qlora.h"

int qlora_header_is_c(void) { return (int)sizeof(qlora_model_config); }
