/* Stands in for the NVIDIA driver: one that supports CUDA 12.2 (QLORA_OLD_DRIVER), or none at all.
 */
#ifdef QLORA_OLD_DRIVER
int cuInit(unsigned flags) { return flags == 0 ? 0 : 1; }
int cuDriverGetVersion(int* version) {
  *version = 12020;
  return 0;
}
#else
int qlora_stub_is_no_driver;
#endif
